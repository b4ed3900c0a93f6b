//! How many processes a second, against plain spawning?

fn main() {}
