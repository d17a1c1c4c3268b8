//! A run in several worker processes.
