//! An audit as a table.

use std::fmt;

use comfy_table::{CellAlignment, Table, presets::UTF8_HORIZONTAL_ONLY};

use super::{Audit, AuditedLeaf, Cause, CutAt, FrozenWork, Outcome};

impl fmt::Display for Audit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table = Table::new();
        table.load_style(UTF8_HORIZONTAL_ONLY);
        table.set_header(["#", "leaf", "kind", "plan", "gradient", "cause or cost"]);
        for leaf in &self.leaves {
            let [plan, gradient, remark] = cells(leaf);
            table.add_row([
                leaf.index.to_string(),
                leaf.path.clone(),
                leaf.kind.to_string(),
                plan,
                gradient,
                remark,
            ]);
        }
        if let Some(column) = table.column_mut(0) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        write!(f, "{table}")?;
        let findings = self.findings();
        if findings.is_empty() {
            write!(f, "\nnothing found: every trained leaf got its gradient")?;
        }
        findings.iter().try_for_each(|finding| write!(f, "\n- {finding}"))
    }
}

fn cells(leaf: &AuditedLeaf) -> [String; 3] {
    let missing = || match leaf.all_missing {
        true => "none".to_string(),
        false => format!("none for {}", leaf.missing.join(", ")),
    };
    let cells = |plan: &str, gradient: String, remark: String| [plan.to_string(), gradient, remark];
    match &leaf.outcome {
        Outcome::Trained => cells("trained", "arrived".into(), String::new()),
        Outcome::Missing(cause) => cells("trained", missing(), short(cause)),
        Outcome::NoParameters => cells("trained", String::new(), "no parameters".into()),
        Outcome::NoVariables => cells("trained", String::new(), "no variables".into()),
        Outcome::Frozen(FrozenWork::None) => cells("frozen", String::new(), String::new()),
        Outcome::Frozen(FrozenWork::Input) => {
            cells("frozen", String::new(), "passes gradients on".into())
        }
        Outcome::Frozen(FrozenWork::Whole { bytes }) => {
            cells("frozen", String::new(), format!("{bytes} bytes of unread gradients"))
        }
    }
}

fn short(cause: &Cause) -> String {
    match cause {
        Cause::Cut(CutAt::Leaf { path, .. }) => format!("cut off at {path}"),
        Cause::Cut(CutAt::AtOrAbove) => "cut off at or above".into(),
        Cause::Unused => "the loss does not depend on it".into(),
        Cause::RandomLoss => "cannot be told: the loss is random".into(),
        Cause::AtTimes => "arrives at times".into(),
        Cause::NotTried => "not tried".into(),
        Cause::NonFiniteLoss => "cannot be told: the loss is not finite".into(),
    }
}
