-- Version 3: in how many hours a record was used.

ALTER TABLE records ADD COLUMN uses INTEGER NOT NULL DEFAULT 1;
