//! Every order of a small scenario.
