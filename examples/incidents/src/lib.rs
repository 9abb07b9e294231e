//! Nothing: what there is to see is the example.
