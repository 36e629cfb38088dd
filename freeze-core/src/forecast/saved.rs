//! A calibration in saved form, with all its numbers.

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::Calibration;

impl Serialize for Calibration {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Calibration::serialize(self, serializer)
    }
}

impl<'de> Deserialize<'de> for Calibration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let costs = Calibration::deserialize(deserializer)?;
        costs.check().map_err(D::Error::custom)?;
        Ok(costs)
    }
}

impl Calibration {
    /// An error if its parts do not speak of the same leaves.
    fn check(&self) -> Result<(), String> {
        let paths = self.leaves.iter().map(|leaf| &leaf.path);
        if !paths.eq(self.template.paths()) {
            return Err("its plan and its costs are of different leaves".into());
        }
        let held = self.calls.iter().map(|call| &call.leaves);
        let held = held.chain(self.vars.iter().map(|(_, leaves)| leaves)).flatten();
        match held.copied().find(|&leaf| leaf >= self.leaves.len()) {
            None => Ok(()),
            Some(leaf) => {
                let leaves = self.leaves.len();
                Err(format!("it has costs of leaf {leaf}, but there are {leaves} leaves"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, from_value, json, to_value};

    use super::super::tests::given;
    use super::*;

    #[test]
    fn it_is_read_as_it_was() {
        let costs = given().with_moments(usize::MAX);
        let saved = to_value(&costs).expect("values");
        let read: Calibration = from_value(saved.clone()).expect("a calibration");
        assert_eq!(to_value(&read).expect("values"), saved);
        let states = costs.template.states();
        assert_eq!(read.step_time(states), costs.step_time(states));
        assert_eq!(read.to_string(), costs.to_string());
    }

    #[test]
    fn parts_that_do_not_fit_are_refused() {
        let spoiled = |at: &str, value: Value| {
            let mut saved = to_value(given()).expect("values");
            *saved.pointer_mut(at).expect("a place") = value;
            from_value::<Calibration>(saved).expect_err("an error").to_string()
        };
        let rows = [
            ("/leaves/0/path", json!("other"), "different leaves"),
            ("/calls/1/leaves/0", json!(4), "costs of leaf 4, but there are 4 leaves"),
            ("/vars/3/1/0", json!(9), "costs of leaf 9"),
            ("/update", json!(-1), "Duration"),
        ];
        for (at, value, expected) in rows {
            let error = spoiled(at, value);
            assert!(error.contains(expected), "{error}");
        }
    }
}
