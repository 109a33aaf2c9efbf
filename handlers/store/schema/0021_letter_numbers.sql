-- Under which number TENANT_DEAD_LETTERS acknowledged a letter: another letter there says that it was put back.
-- Letters that were published before this have none.
ALTER TABLE service.dead_letters ADD COLUMN number bigint;
CREATE INDEX dead_letters_by_number ON service.dead_letters (number, id) WHERE number IS NOT NULL;
