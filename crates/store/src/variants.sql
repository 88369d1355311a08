-- Version 5: names that stand for images of several platforms.

CREATE TABLE variants (
    name TEXT NOT NULL REFERENCES tags (name) ON DELETE CASCADE,
    image BLOB NOT NULL REFERENCES images (id) ON DELETE CASCADE,
    place INTEGER NOT NULL,         -- among those of the name
    PRIMARY KEY (name, image)
) WITHOUT ROWID;
CREATE INDEX variants_image ON variants (image);
