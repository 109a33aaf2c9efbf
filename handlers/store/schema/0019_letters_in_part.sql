-- What the stream's dead letter does not have, of headers, body, error and subject: such a letter stays here.
ALTER TABLE service.dead_letters ADD COLUMN omitted text NOT NULL DEFAULT '';
