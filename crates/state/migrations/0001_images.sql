-- Tables of the image crate.

-- A layer that is unpacked in layers/<id>/. Its original bytes are the blob.
CREATE TABLE layer (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    -- Digest of the uncompressed tar.
    diff_id     TEXT NOT NULL UNIQUE,
    -- dir
    kind        TEXT NOT NULL,
    -- Apparent sizes of all files but directories, as Docker counts.
    size_bytes  INTEGER NOT NULL,
    tar_bytes   INTEGER NOT NULL,
    blob        TEXT NOT NULL,
    blob_bytes  INTEGER NOT NULL,
    -- none gzip zstd
    compression TEXT NOT NULL
) STRICT;

-- Layers in order, named by the OCI chain id of the topmost. Images and snapshots refer to chains, chains to layers.
CREATE TABLE chain (
    id          TEXT PRIMARY KEY
) STRICT;

CREATE TABLE chain_layer (
    chain       TEXT NOT NULL REFERENCES chain (id) ON DELETE CASCADE,
    -- 0 is the bottom.
    position    INTEGER NOT NULL,
    layer       INTEGER NOT NULL REFERENCES layer (id),
    PRIMARY KEY (chain, position)
) STRICT, WITHOUT ROWID;

CREATE INDEX chain_layer_layer ON chain_layer (layer);

CREATE TABLE image (
    -- Digest of config.
    id              TEXT PRIMARY KEY,
    config          BLOB NOT NULL,
    chain           TEXT NOT NULL REFERENCES chain (id),
    parent          TEXT REFERENCES image (id) ON DELETE SET NULL,
    manifest        TEXT,
    last_tagged_ns  INTEGER
) STRICT;

CREATE INDEX image_chain ON image (chain);
CREATE INDEX image_parent ON image (parent);

-- Documents kept for an image besides its config and layers: manifests, indexes, attestations.
CREATE TABLE image_blob (
    image       TEXT NOT NULL REFERENCES image (id) ON DELETE CASCADE,
    digest      TEXT NOT NULL,
    PRIMARY KEY (image, digest)
) STRICT, WITHOUT ROWID;

CREATE INDEX image_blob_digest ON image_blob (digest);

-- Blobs that an image let go of: candidates for deletion.
CREATE TABLE released_blob (
    digest      TEXT PRIMARY KEY
) STRICT, WITHOUT ROWID;

CREATE TRIGGER image_blob_released AFTER DELETE ON image_blob BEGIN
    INSERT OR IGNORE INTO released_blob VALUES (old.digest);
END;

-- Names: docker.io/library/busybox:latest, docker.io/library/busybox@sha256:…
CREATE TABLE reference (
    name        TEXT PRIMARY KEY,
    image       TEXT NOT NULL REFERENCES image (id) ON DELETE CASCADE
) STRICT, WITHOUT ROWID;

CREATE INDEX reference_image ON reference (image);

-- Writable layers in snapshots/<container>/.
CREATE TABLE snapshot (
    container   TEXT PRIMARY KEY,
    chain       TEXT NOT NULL REFERENCES chain (id)
) STRICT, WITHOUT ROWID;

CREATE INDEX snapshot_chain ON snapshot (chain);

-- Which version of a built-in image was added last; the row stays when the user removes the image.
CREATE TABLE builtin_image (
    name        TEXT PRIMARY KEY,
    version     TEXT NOT NULL
) STRICT, WITHOUT ROWID;
