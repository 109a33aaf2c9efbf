-- Which kinds of sagas, and which steps of them, a version of the service knows: `kind`, `kind.step`.
ALTER TABLE service.registries ADD COLUMN steps text[] NOT NULL DEFAULT '{}';
