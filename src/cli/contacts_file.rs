//! Contacts in a file: CSV with a header line, or JSON. Turns both into a request; refuses to know whether the numbers
//! are right, that is the server's.

use std::path::Path;

use serde_json::{Map, Value, json};

/// The columns that are fields of a contact; each with other names that people give it.
const FIELDS: [(&str, &[&str]); 5] = [
    ("phone", &["phone_number", "phonenumber", "number", "telephone", "mobile"]),
    ("id", &["contact_id", "contactid"]),
    ("name", &["full_name", "contact_name", "contactname"]),
    ("email", &["e-mail", "mail"]),
    ("company", &["organisation", "organization"]),
];

/// Reads a file into a request.
///
/// # Errors
/// A sentence that says what is wrong with it, and where.
pub fn read(path: &Path) -> Result<Value, String> {
    let bytes = std::fs::read(path).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
    let text = String::from_utf8(bytes).map_err(|_| format!("{} is not UTF-8 text", path.display()))?;
    let text = text.trim_start_matches('\u{feff}');
    let read = if text.trim_start().starts_with(['[', '{']) { json_request(text) } else { csv_request(text) };
    read.map_err(|why| format!("{}: {why}", path.display()))
}

fn json_request(text: &str) -> Result<Value, String> {
    let value: Value = serde_json::from_str(text).map_err(|error| format!("this is not JSON: {error}"))?;
    match value {
        Value::Array(contacts) => Ok(json!({ "contacts": contacts })),
        Value::Object(_) if value.get("contacts").is_some() => Ok(value),
        _ => Err("give a list of contacts, or an object with \"contacts\"".to_owned()),
    }
}

fn csv_request(text: &str) -> Result<Value, String> {
    let separator = if text.lines().next().is_some_and(|first| first.contains(';') && !first.contains(',')) {
        b';'
    } else {
        b','
    };
    let mut table =
        csv::ReaderBuilder::new().delimiter(separator).trim(csv::Trim::All).from_reader(text.as_bytes());
    let columns: Vec<Column> =
        table.headers().map_err(|error| error.to_string())?.iter().map(column).collect();
    if !columns.iter().any(|column| matches!(column, Column::Field("phone"))) {
        return Err("no column is called phone; the first line names the columns".to_owned());
    }
    let mut contacts = Vec::new();
    for row in table.records() {
        let row = row.map_err(|error| error.to_string())?;
        let (mut contact, mut metadata) = (Map::new(), Map::new());
        for (column, value) in columns.iter().zip(&row).filter(|(_, value)| !value.is_empty()) {
            match column {
                Column::Field(name) => drop(contact.insert((*name).to_owned(), value.into())),
                Column::Other(name) => drop(metadata.insert(name.clone(), value.into())),
            }
        }
        if !metadata.is_empty() {
            contact.insert("metadata".to_owned(), metadata.into());
        }
        contacts.push(Value::Object(contact));
    }
    Ok(json!({ "contacts": contacts }))
}

enum Column {
    /// A field of the contact.
    Field(&'static str),
    /// Goes to the contact's `metadata`.
    Other(String),
}

fn column(name: &str) -> Column {
    let wanted = name.trim().to_ascii_lowercase().replace(' ', "_");
    let known = FIELDS.iter().find(|(field, others)| *field == wanted || others.contains(&wanted.as_str()));
    known.map_or_else(|| Column::Other(name.trim().to_owned()), |(field, _)| Column::Field(field))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_becomes_contacts() {
        let text = "Phone Number,name,Plan\r\n+1 555 0100,\"Doe, \"\"Jo\"\"\",gold\n\n+15550101,,\n";
        assert_eq!(
            csv_request(text).unwrap(),
            json!({ "contacts": [
                { "phone": "+1 555 0100", "name": "Doe, \"Jo\"", "metadata": { "Plan": "gold" } },
                { "phone": "+15550101" },
            ] })
        );
        assert_eq!(
            csv_request("phone;name\n1;\"a\nb\"").unwrap(),
            json!({ "contacts": [{ "phone": "1", "name": "a\nb" }] })
        );
    }

    #[test]
    fn what_is_no_table_is_told_where() {
        for (text, why) in [
            ("", "no column is called phone; the first line names the columns"),
            ("name\nJo", "no column is called phone; the first line names the columns"),
            ("phone,name\n1,Jo,more", "line: 2"),
        ] {
            let said = csv_request(text).unwrap_err();
            assert!(said.contains(why), "{said}");
        }
    }

    #[test]
    fn json_is_a_list_or_a_request() {
        assert_eq!(json_request("[{\"phone\":\"1\"}]").unwrap(), json!({ "contacts": [{ "phone": "1" }] }));
        assert!(json_request("{\"contacts\":[],\"name\":\"x\"}").is_ok());
        assert!(json_request("{}").is_err() && json_request("[").is_err());
    }
}
