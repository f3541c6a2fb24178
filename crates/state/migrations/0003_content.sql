-- Tables of the image crate: what pulls, pushes and several platforms need.

-- The bytes in which a layer came or goes: one tar may be compressed in several ways. The file is blobs/sha256/<hex>.
-- A layer of kind erofs holds its plain tar itself, so that one has no row here.
CREATE TABLE layer_blob (
    digest      TEXT PRIMARY KEY,
    layer       INTEGER NOT NULL REFERENCES layer (id) ON DELETE CASCADE,
    size_bytes  INTEGER NOT NULL,
    -- none gzip zstd
    compression TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX layer_blob_layer ON layer_blob (layer);

INSERT OR IGNORE INTO layer_blob SELECT blob, id, blob_bytes, compression FROM layer;

ALTER TABLE layer DROP COLUMN blob;
ALTER TABLE layer DROP COLUMN blob_bytes;
ALTER TABLE layer DROP COLUMN compression;

CREATE TRIGGER layer_blob_released AFTER DELETE ON layer_blob BEGIN
    INSERT OR IGNORE INTO released_blob VALUES (old.digest);
END;

-- The index or manifest that the name stands for in its registry; NULL where the image came without one.
ALTER TABLE reference ADD COLUMN target TEXT;

UPDATE reference SET target = (SELECT manifest FROM image WHERE image.id = reference.image);

-- The images behind a name, one for each platform that is here; reference.image is the one that containers get.
CREATE TABLE variant (
    name        TEXT NOT NULL REFERENCES reference (name) ON DELETE CASCADE,
    image       TEXT NOT NULL REFERENCES image (id) ON DELETE CASCADE,
    manifest    TEXT,
    PRIMARY KEY (name, image)
) STRICT, WITHOUT ROWID;

CREATE INDEX variant_image ON variant (image);

INSERT INTO variant SELECT reference.name, reference.image, image.manifest FROM reference JOIN image ON image.id = reference.image;
