//! Policies that go by what training shows.
