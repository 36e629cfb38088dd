//! The layout as text: a tree with one part per line.

use std::fmt;

use super::{LeafTree, Node, TUPLE};

/// The tree, one part per line, each with the attributes declared for it; parts without leaves are
/// left out.
impl fmt::Display for LeafTree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.render(f, "", 0, &mut Vec::new())
    }
}

impl fmt::Debug for LeafTree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

const OPEN: &str = " (length known at run time)";

impl LeafTree {
    /// Writes the tree, `depth` levels indented. `above` holds the named types that contain it: a
    /// type can contain itself only through one of these.
    fn render(
        &self,
        f: &mut fmt::Formatter<'_>,
        name: &str,
        depth: usize,
        above: &mut Vec<&'static str>,
    ) -> fmt::Result {
        let indent = "  ".repeat(depth);
        let label = if name.is_empty() { String::new() } else { format!("{name}: ") };
        let said = match self.declared.to_string() {
            said if said.is_empty() => said,
            said => format!(", {said}"),
        };
        let (kind, parts, length) = match self.node {
            Node::Empty => return Ok(()),
            Node::Leaf { kind } => return writeln!(f, "{indent}{label}{kind}{said}"),
            Node::Array { item, len } => {
                let item = item.declare(self.declared);
                return item.render(f, &format!("{name}[0..{len}]"), depth, above);
            }
            Node::Group { kind, parts } => (kind, parts, ""),
            Node::Open { kind, inside } => match inside().node {
                // An enum: its variants.
                Node::Group { kind: same, parts } if same == kind => (kind, parts, OPEN),
                _ => {
                    writeln!(f, "{indent}{label}{kind}{OPEN}{said}")?;
                    return inside().render(f, "", depth + 1, above);
                }
            },
        };
        if kind != TUPLE && above.contains(&kind) {
            return writeln!(f, "{indent}{label}{kind} (as above){said}");
        }
        writeln!(f, "{indent}{label}{kind}{length}{said}")?;
        above.push(kind);
        for part in parts {
            part.layout.render(f, part.name, depth + 1, above)?;
        }
        above.pop();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Part;

    const LEAF: LeafTree = LeafTree::leaf("Linear");
    const OPEN: LeafTree = LeafTree::open("Vec", || LEAF);

    #[test]
    fn renders_recursive_types_once() {
        const TREE: LeafTree = LeafTree::group(
            "Tree",
            &[
                Part { name: "value", layout: &LEAF },
                Part { name: "children", layout: &LeafTree::open("Vec", || TREE) },
            ],
        );
        let text = TREE.to_string();
        assert_eq!(text.matches("Tree").count(), 2, "{text}");
        assert!(text.contains("Tree (as above)"), "{text}");
    }

    #[test]
    fn renders_containers_within_containers() {
        const PAIR: LeafTree = LeafTree::group(
            TUPLE,
            &[Part { name: "0", layout: &LEAF }, Part { name: "1", layout: &OPEN }],
        );
        const NESTED: LeafTree = LeafTree::group(
            TUPLE,
            &[
                Part { name: "0", layout: &PAIR },
                Part { name: "1", layout: &LeafTree::array(&LeafTree::open("Vec", || PAIR), 2) },
            ],
        );
        let text = "\
tuple
  0: tuple
    0: Linear
    1: Vec (length known at run time)
      Linear
  1[0..2]: Vec (length known at run time)
    tuple
      0: Linear
      1: Vec (length known at run time)
        Linear
";
        assert_eq!(NESTED.to_string(), text);
    }
}
