//! The graph of a topology.
