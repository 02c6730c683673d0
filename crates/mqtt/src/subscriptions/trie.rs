//! A tree of topic filters, one level of the filter per level of the tree.

use hashbrown::HashMap;

/// Values kept under topic filters. Several values may share a filter; `K` tells them apart.
#[derive(Debug)]
pub(crate) struct Trie<K, V> {
    root: Node<K, V>,
    len: usize,
}

#[derive(Debug)]
struct Node<K, V> {
    /// Literal levels below.
    children: HashMap<Box<str>, Node<K, V>>,
    /// `+` below.
    plus: Option<Box<Node<K, V>>>,
    /// Filters that end with `#` here.
    hash: Vec<(K, V)>,
    /// Filters that end here.
    here: Vec<(K, V)>,
}

impl<K, V> Default for Node<K, V> {
    fn default() -> Self {
        Self { children: HashMap::new(), plus: None, hash: Vec::new(), here: Vec::new() }
    }
}

impl<K, V> Default for Trie<K, V> {
    fn default() -> Self {
        Self { root: Node::default(), len: 0 }
    }
}

impl<K, V> Node<K, V> {
    fn is_empty(&self) -> bool {
        self.children.is_empty() && self.plus.is_none() && self.hash.is_empty() && self.here.is_empty()
    }
}

impl<K: Eq, V> Trie<K, V> {
    /// Number of values.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Puts `value` under `filter`, in place of the one with the same key, which is answered.
    pub(crate) fn insert(&mut self, filter: &str, key: K, value: V) -> Option<V> {
        let mut node = &mut self.root;
        let mut values = None;
        for level in filter.split('/') {
            match level {
                "#" => {
                    values = Some(());
                    break;
                }
                "+" => node = node.plus.get_or_insert_with(Box::default),
                literal => {
                    if !node.children.contains_key(literal) {
                        node.children.insert(literal.into(), Node::default());
                    }
                    match node.children.get_mut(literal) {
                        Some(child) => node = child,
                        None => return None,
                    }
                }
            }
        }
        let values = if values.is_some() { &mut node.hash } else { &mut node.here };
        for (k, v) in values.iter_mut() {
            if *k == key {
                return Some(std::mem::replace(v, value));
            }
        }
        values.push((key, value));
        self.len += 1;
        None
    }

    /// Takes the value with this key from under `filter`, and nodes that hold nothing any more with it.
    pub(crate) fn remove(&mut self, filter: &str, key: &K) -> Option<V> {
        let levels: Vec<&str> = filter.split('/').collect();
        let removed = remove_below(&mut self.root, &levels, key);
        if removed.is_some() {
            self.len -= 1;
        }
        removed
    }

    /// Calls `found` for each value whose filter matches the topic name. A filter whose first level is a
    /// wildcard does not match a name that begins with `$`.
    pub(crate) fn matches<'t>(&'t self, topic: &str, found: &mut impl FnMut(&'t K, &'t V)) {
        match_below(&self.root, Some(topic), topic.starts_with('$'), found);
    }

    /// Whether any filter matches.
    pub(crate) fn any_match(&self, topic: &str) -> bool {
        let mut any = false;
        self.matches(topic, &mut |_, _| any = true);
        any
    }
}

// Recursion depth is the number of levels of a filter, which SUBSCRIBE bounds.
fn remove_below<K: Eq, V>(node: &mut Node<K, V>, levels: &[&str], key: &K) -> Option<V> {
    let take = |values: &mut Vec<(K, V)>| {
        let at = values.iter().position(|(k, _)| k == key)?;
        Some(values.swap_remove(at).1)
    };
    let Some((level, rest)) = levels.split_first() else { return take(&mut node.here) };
    match *level {
        "#" => take(&mut node.hash),
        "+" => {
            let below = node.plus.as_deref_mut()?;
            let removed = remove_below(below, rest, key);
            if below.is_empty() {
                node.plus = None;
            }
            removed
        }
        literal => {
            let below = node.children.get_mut(literal)?;
            let removed = remove_below(below, rest, key);
            if below.is_empty() {
                node.children.remove(literal);
            }
            removed
        }
    }
}

fn match_below<'t, K, V>(
    node: &'t Node<K, V>,
    rest: Option<&str>,
    dollar: bool,
    found: &mut impl FnMut(&'t K, &'t V),
) {
    if !dollar {
        // "a/#" matches "a" itself too, so this comes before the end of the name is looked at.
        for (k, v) in &node.hash {
            found(k, v);
        }
    }
    let Some(rest) = rest else {
        for (k, v) in &node.here {
            found(k, v);
        }
        return;
    };
    let (level, below) = match rest.split_once('/') {
        Some((level, below)) => (level, Some(below)),
        None => (rest, None),
    };
    if let Some(child) = node.children.get(level) {
        match_below(child, below, false, found);
    }
    if let Some(plus) = node.plus.as_deref().filter(|_| !dollar) {
        match_below(plus, below, false, found);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn matched(trie: &Trie<u32, String>, topic: &str) -> Vec<(u32, String)> {
        let mut out = Vec::new();
        trie.matches(topic, &mut |k, v| out.push((*k, v.clone())));
        out.sort();
        out
    }

    #[test]
    fn filters_match_as_the_specification_says() {
        let mut t = Trie::default();
        for (n, f) in
            ["a/b", "a/+", "a/#", "+/b", "#", "/+", "+", "$SYS/#", "a/b/#", "+/+/#"].iter().enumerate()
        {
            t.insert(f, n as u32, (*f).to_owned());
        }
        let names =
            |topic: &str| matched(&t, topic).into_iter().map(|(_, f)| f).collect::<Vec<_>>().join(" ");
        assert_eq!(names("a/b"), "a/b a/+ a/# +/b # a/b/# +/+/#");
        assert_eq!(names("a"), "a/# # +");
        assert_eq!(names("/x"), "# /+ +/+/#");
        assert_eq!(names("$SYS/x"), "$SYS/#");
        assert_eq!(names("$SYS"), "$SYS/#");
        assert_eq!(names("$other"), "");
    }

    #[test]
    fn the_last_value_of_a_key_wins_and_empty_nodes_go() {
        let mut t = Trie::default();
        assert_eq!(t.insert("a/+/c", 1u32, "x".to_owned()), None);
        assert_eq!(t.insert("a/+/c", 1, "y".to_owned()), Some("x".to_owned()));
        assert_eq!(t.insert("a/#", 1, "z".to_owned()), None);
        assert_eq!(t.len(), 2);
        assert_eq!(t.remove("a/+/c", &2), None);
        assert_eq!(t.remove("a/+/c", &1), Some("y".to_owned()));
        assert_eq!(t.remove("a/#", &1), Some("z".to_owned()));
        assert!(t.root.is_empty());
        assert_eq!(t.len(), 0);
    }

    fn level() -> impl Strategy<Value = String> {
        prop_oneof![Just("a"), Just("b"), Just(""), Just("$x")].prop_map(str::to_owned)
    }

    fn filter() -> impl Strategy<Value = String> {
        let level = prop_oneof![3 => level(), 1 => Just("+".to_owned())];
        (prop::collection::vec(level, 1..5), any::<bool>()).prop_map(|(mut levels, hash)| {
            if hash {
                levels.push("#".to_owned());
            }
            levels.join("/")
        })
    }

    proptest! {
        #[test]
        fn the_trie_finds_what_naive_matching_finds(
            steps in prop::collection::vec((filter(), 0u32..4, any::<bool>()), 1..60),
            topics in prop::collection::vec(prop::collection::vec(level(), 1..6).prop_map(|l| l.join("/")), 1..20),
        ) {
            let mut trie = Trie::default();
            let mut naive: Vec<(String, u32)> = Vec::new();
            for (f, k, add) in steps {
                let known = naive.iter().position(|(nf, nk)| *nf == f && *nk == k);
                if add {
                    prop_assert_eq!(trie.insert(&f, k, f.clone()).is_some(), known.is_some());
                    if known.is_none() {
                        naive.push((f, k));
                    }
                } else {
                    prop_assert_eq!(trie.remove(&f, &k).is_some(), known.is_some());
                    if let Some(at) = known {
                        naive.remove(at);
                    }
                }
                prop_assert_eq!(trie.len(), naive.len());
            }
            for topic in topics {
                let mut expected: Vec<(u32, String)> = naive
                    .iter()
                    .filter(|(f, _)| mqtt_codec::topic::matches(f, &topic))
                    .map(|(f, k)| (*k, f.clone()))
                    .collect();
                expected.sort();
                prop_assert_eq!(matched(&trie, &topic), expected);
            }
        }
    }
}
