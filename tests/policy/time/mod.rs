//! Policies that go by time alone.
