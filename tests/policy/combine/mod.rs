//! Policies made of others: what each makes of the decisions of a policy that is written down.

mod fake;
mod held;
mod laws;
mod parts;
mod rules;
mod run;
mod tried;
