-- Networks that users make, and endpoints of several networks and of both families.

CREATE TABLE network (
    id          TEXT PRIMARY KEY,
    name        TEXT NOT NULL UNIQUE,
    -- creating ready removing
    phase       TEXT NOT NULL,
    created_ns  INTEGER NOT NULL,
    -- JSON of engine::network::Network.
    config      TEXT NOT NULL
) STRICT;

CREATE TABLE endpoint_of_any_family (
    id          TEXT PRIMARY KEY,
    container   TEXT NOT NULL REFERENCES container (id) ON DELETE CASCADE,
    network     TEXT NOT NULL,
    -- Name in the container, such as eth0.
    interface   TEXT NOT NULL,
    mac         TEXT NOT NULL,
    ipv4        TEXT,
    ipv6        TEXT,
    UNIQUE (network, ipv4),
    UNIQUE (network, ipv6),
    UNIQUE (container, network)
) STRICT;

CREATE TABLE port_of_any_family (
    endpoint        TEXT NOT NULL REFERENCES endpoint_of_any_family (id) ON DELETE CASCADE,
    protocol        TEXT NOT NULL,
    host_ip         TEXT NOT NULL,
    host_port       INTEGER NOT NULL,
    container_port  INTEGER NOT NULL,
    UNIQUE (protocol, host_ip, host_port)
) STRICT;

INSERT INTO endpoint_of_any_family SELECT id, container, network, 'eth0', mac, ipv4, NULL FROM endpoint;
INSERT INTO port_of_any_family SELECT endpoint, protocol, host_ip, host_port, container_port FROM port;
DROP TABLE port;
DROP TABLE endpoint;
ALTER TABLE endpoint_of_any_family RENAME TO endpoint;
ALTER TABLE port_of_any_family RENAME TO port;
