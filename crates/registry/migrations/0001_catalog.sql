-- What a registry's repositories hold. Content itself is in files named by digest; a row in `blob` is what makes such a file
-- count, and is written after the file is durable.
CREATE TABLE repository (
    id   INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE
);

CREATE TABLE blob (
    digest     TEXT PRIMARY KEY,
    size_bytes INTEGER NOT NULL
) WITHOUT ROWID;

-- A blob that a repository may serve. `leased_s` is when somebody relied on it last: for a while after that it stays,
-- whether a manifest refers to it or not.
CREATE TABLE link (
    repository INTEGER NOT NULL REFERENCES repository (id),
    digest     TEXT NOT NULL REFERENCES blob (digest),
    leased_s   INTEGER NOT NULL,
    PRIMARY KEY (repository, digest)
) WITHOUT ROWID;
CREATE INDEX link_by_digest ON link (digest);

CREATE TABLE manifest (
    repository    INTEGER NOT NULL REFERENCES repository (id),
    digest        TEXT NOT NULL REFERENCES blob (digest),
    media_type    TEXT NOT NULL,
    subject       TEXT,
    artifact_type TEXT,
    annotations   TEXT,
    leased_s      INTEGER NOT NULL,
    PRIMARY KEY (repository, digest)
) WITHOUT ROWID;
CREATE INDEX manifest_by_digest ON manifest (digest);
CREATE INDEX manifest_by_subject ON manifest (repository, subject) WHERE subject IS NOT NULL;

-- What a manifest names: its config, layers or manifests.
CREATE TABLE reference (
    repository INTEGER NOT NULL,
    manifest   TEXT NOT NULL,
    target     TEXT NOT NULL,
    PRIMARY KEY (repository, manifest, target),
    FOREIGN KEY (repository, manifest) REFERENCES manifest (repository, digest) ON DELETE CASCADE
) WITHOUT ROWID;
CREATE INDEX reference_by_target ON reference (repository, target);

CREATE TABLE tag (
    repository INTEGER NOT NULL,
    name       TEXT NOT NULL,
    digest     TEXT NOT NULL,
    PRIMARY KEY (repository, name),
    FOREIGN KEY (repository, digest) REFERENCES manifest (repository, digest) ON DELETE CASCADE
) WITHOUT ROWID;
CREATE INDEX tag_by_digest ON tag (repository, digest);

-- An upload in progress; its bytes are in a file of this name.
CREATE TABLE upload (
    id         TEXT PRIMARY KEY,
    repository TEXT NOT NULL
) WITHOUT ROWID;
