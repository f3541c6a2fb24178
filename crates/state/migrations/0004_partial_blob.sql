-- Table of the image crate: blobs whose download began and has not ended.

-- The files are partial/<hex> (the bytes) and partial/<hex>.map (which of them are there). A file without a row is removed.
CREATE TABLE partial_blob (
    digest      TEXT PRIMARY KEY,
    size_bytes  INTEGER NOT NULL,
    -- When it was last begun or taken up again; after a day nobody goes on with it.
    begun_ns    INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
