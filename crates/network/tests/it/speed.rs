//! What the steps on the path of a start cost. Prints; asserts only what no busy machine can miss.
