//! Tests of the whole: real daemons, real clients. `crash` kills the daemon at every failpoint and at random moments.
