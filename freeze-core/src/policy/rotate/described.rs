//! How policies with turns describe themselves, and the methods that they have alike.

use serde_json::Value;

use crate::policy::Settings;
use crate::policy::settings::described_by;

/// `name(setting=value, ..)`, with texts as they are.
pub(super) fn described<S: Settings>(settings: &S) -> String {
    described_by(settings, |value| match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    })
}

/// The methods of a policy that describes itself by its `settings`, and whose state is its `turns`.
macro_rules! settings_and_turns {
    () => {
        fn is_due(&self, at: crate::policy::Elapsed, moment: crate::policy::Moment) -> bool {
            self.turns.is_due(at, moment)
        }

        fn describe(&self) -> String {
            $crate::policy::rotate::described::described(&self.settings)
        }

        fn state(&self) -> serde_json::Value {
            self.turns.state()
        }

        fn load_state(&mut self, state: &serde_json::Value) -> crate::error::Result<()> {
            self.turns.load(state, || $crate::policy::rotate::described::described(&self.settings))
        }
    };
}
pub(super) use settings_and_turns;
