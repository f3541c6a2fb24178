-- Volumes of the local driver, and which containers use them.

CREATE TABLE volume (
    name        TEXT PRIMARY KEY,
    created_ns  INTEGER NOT NULL,
    -- JSON maps, or null: labels as given; options of the driver.
    labels      TEXT NOT NULL,
    options     TEXT NOT NULL,
    -- 1: its removal has begun, and is finished by whoever finds the row.
    removing    INTEGER NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;

CREATE TABLE volume_use (
    container   TEXT NOT NULL REFERENCES container (id) ON DELETE CASCADE,
    volume      TEXT NOT NULL REFERENCES volume (name),
    PRIMARY KEY (container, volume)
) STRICT, WITHOUT ROWID;

CREATE INDEX volume_use_volume ON volume_use (volume);
