//! The command line against a scripted Engine API: what it sends, prints and returns, compared with Docker's own.
//!
//! `lines/*.txt` hold command lines, `golden/*.json` what Docker's command line did with them. With `GANTRY_TEST_DOCKER=/path/to/docker` the same lines are run
//! with it too and compared with the files; with `GANTRY_TEST_RECORD=1` besides, the files are written anew.

mod create;
mod fake_api;
mod golden;
mod lists;
mod streams;
