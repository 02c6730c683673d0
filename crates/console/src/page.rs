//! Pages as HTML. Everything that comes from a record is text, never markup.

use std::fmt::Write;

use crate::view::{RecordView, TopicView};

/// The style sheet of all pages.
pub(crate) const STYLE: &str = "\
body{font:15px/1.5 system-ui,sans-serif;margin:0;color:#1b2733;background:#f5f7f9}
header{background:#0b4f6c;color:#fff;padding:.7rem 1.5rem}header a{color:#fff;text-decoration:none;font-weight:600}
main{padding:1rem 1.5rem;max-width:75rem}h1{font-size:1.3rem}
table{border-collapse:collapse;width:100%;background:#fff;box-shadow:0 1px 2px #0002}
th,td{text-align:left;padding:.35rem .7rem;border-bottom:1px solid #e3e8ec;vertical-align:top}
td.n,th.n{text-align:right;font-variant-numeric:tabular-nums}
td.t{font-family:ui-monospace,monospace;white-space:pre-wrap;word-break:break-word}
.bar{display:block;height:.5rem;background:#20bf9a;border-radius:2px;min-width:1px}
.dim{color:#6b7a86}nav a{margin-right:.8rem}";

fn frame(title: &str, body: &str) -> String {
    format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>{title} - Tributary</title>\
         <meta name=\"viewport\" content=\"width=device-width\"><meta http-equiv=\"refresh\" content=\"5\">\
         <link rel=\"stylesheet\" href=\"/style.css\"></head>\
         <body><header><a href=\"/\">Tributary</a></header><main>{body}</main></body></html>"
    )
}

/// All topics, with a bar for their share of the records.
pub(crate) fn overview(topics: &[TopicView]) -> String {
    let largest = topics.iter().map(|t| t.records).max().unwrap_or(0).max(1);
    let mut rows = String::new();
    for topic in topics {
        let name = escape(&topic.name);
        let dim = if topic.internal { " class=\"dim\"" } else { "" };
        let width = topic.records * 100 / largest;
        let _ = write!(
            rows,
            "<tr{dim}><td><a href=\"/topics/{name}\">{name}</a></td><td class=\"n\">{}</td><td class=\"n\">{}</td>\
             <td><svg width=\"100%\" height=\"10\"><rect class=\"bar\" width=\"{width}%\" height=\"10\" fill=\"#20bf9a\"/></svg></td></tr>",
            topic.partitions.len(),
            topic.records
        );
    }
    if topics.is_empty() {
        rows.push_str("<tr><td colspan=\"4\">No topic yet. Publish a message: <code>mosquitto_pub -t sensors/1/temp -m 21</code></td></tr>");
    }
    let body = format!(
        "<h1>Topics</h1><table><tr><th>Topic</th><th class=\"n\">Partitions</th><th class=\"n\">Records</th><th></th></tr>{rows}</table>"
    );
    frame("Topics", &body)
}

/// One topic: partitions, and a page of records of one of them.
pub(crate) fn topic(topic: &TopicView, partition: i32, records: &[RecordView]) -> String {
    let name = escape(&topic.name);
    let mut nav = String::new();
    for p in &topic.partitions {
        let _ = write!(
            nav,
            "<a href=\"/topics/{name}?partition={0}\">partition {0}</a><span class=\"dim\">{1} … {2}</span> ",
            p.partition, p.start, p.end
        );
    }
    let mut rows = String::new();
    for r in records.iter().rev() {
        let headers: Vec<String> =
            r.headers.iter().map(|(k, v)| format!("{k}={}", v.as_deref().unwrap_or("null"))).collect();
        let _ = write!(
            rows,
            "<tr><td class=\"n\">{}</td><td class=\"n\">{}</td><td class=\"t\">{}</td><td class=\"t\">{}</td><td class=\"t dim\">{}</td></tr>",
            r.offset,
            r.timestamp_ms,
            r.key.as_deref().map_or("<span class=\"dim\">null</span>".into(), escape),
            r.value.as_deref().map_or("<span class=\"dim\">null</span>".into(), escape),
            escape(&headers.join("\n"))
        );
    }
    let body = format!(
        "<h1>{name}</h1><nav>{nav}</nav><h2>Newest records of partition {partition}</h2>\
         <table><tr><th class=\"n\">Offset</th><th class=\"n\">Time (ms)</th><th>Key</th><th>Value</th><th>Headers</th></tr>{rows}</table>"
    );
    frame(&name, &body)
}

fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hostile_payload_is_shown_as_text() {
        let view = TopicView { name: "t".into(), internal: false, records: 1, partitions: vec![] };
        let hostile = "<script>alert('x')</script>".to_string();
        let record = RecordView {
            offset: 0,
            timestamp_ms: 0,
            key: Some(hostile.clone()),
            value: Some(hostile.clone()),
            headers: vec![(hostile, None)],
        };
        let html = topic(&view, 0, &[record]);
        assert!(!html.contains("<script>"), "{html}");
        assert_eq!(html.matches("&lt;script&gt;").count(), 3);
    }
}
