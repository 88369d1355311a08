-- Version 8: what is said about images, a document in the caller's form.

ALTER TABLE images ADD COLUMN said BLOB REFERENCES blobs (digest);
CREATE INDEX images_said ON images (said);
