//! The client: what pull, push, login and inspection of remote images are made of.
