//! Both encodings against the same values.
