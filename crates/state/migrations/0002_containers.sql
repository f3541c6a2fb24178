-- Containers, their endpoints and published ports: the engine's record of intent and of the last known outcome.

CREATE TABLE container (
    id          TEXT PRIMARY KEY,
    name        TEXT NOT NULL UNIQUE,
    -- created starting running paused restarting exited
    phase       TEXT NOT NULL,
    created_ns  INTEGER NOT NULL,
    image       TEXT NOT NULL,
    -- Immutable after create: JSON of engine::container::Config.
    config      TEXT NOT NULL,
    -- What was last seen: JSON of engine::container::record::Status.
    status      TEXT NOT NULL,
    -- The kernel's boot id when the phase was written: live phases of another boot are void.
    boot        TEXT NOT NULL
) STRICT;

CREATE INDEX container_image ON container (image);

-- One row for each attachment of a container to a network. The unique address is the allocation: there is no bitmap.
CREATE TABLE endpoint (
    id          TEXT PRIMARY KEY,
    container   TEXT NOT NULL REFERENCES container (id) ON DELETE CASCADE,
    network     TEXT NOT NULL,
    mac         TEXT NOT NULL,
    ipv4        TEXT NOT NULL,
    UNIQUE (network, ipv4),
    UNIQUE (container, network)
) STRICT;

-- Published ports of endpoints in force.
CREATE TABLE port (
    endpoint        TEXT NOT NULL REFERENCES endpoint (id) ON DELETE CASCADE,
    protocol        TEXT NOT NULL,
    host_ip         TEXT NOT NULL,
    host_port       INTEGER NOT NULL,
    container_port  INTEGER NOT NULL,
    UNIQUE (protocol, host_ip, host_port)
) STRICT;

-- Facts that must outlive the daemon: name to value.
CREATE TABLE fact (
    name    TEXT PRIMARY KEY,
    value   TEXT NOT NULL
) STRICT;
