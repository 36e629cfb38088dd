//! Policies in which blocks take turns.
