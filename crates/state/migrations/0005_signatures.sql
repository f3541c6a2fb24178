-- Signatures that were verified when an image was pulled. Which key counts is asked of the policy at each use.

CREATE TABLE image_signature (
    image       TEXT NOT NULL REFERENCES image (id) ON DELETE CASCADE,
    -- sha256:… of the public key
    key         TEXT NOT NULL,
    -- Where the key was read then.
    key_file    TEXT NOT NULL,
    -- The index or manifest that was signed.
    manifest    TEXT NOT NULL,
    PRIMARY KEY (image, key)
) STRICT, WITHOUT ROWID;
