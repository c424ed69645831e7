//! Reads the parameters of a query, and collects everything that is wrong before it answers.
//! Refuses to know what a parameter means.

use http::StatusCode;

use super::auth::Caller;
use super::form::{shorten, unknown_name};
use super::problem::{MOST_LISTED, Problem, WrongFields};
use crate::model::id::{self, Kind};

/// The parameters of a query, each once.
#[derive(Debug)]
pub struct Query {
    given: Vec<(String, String)>,
    asked: Vec<&'static str>,
    errors: WrongFields,
}

impl Query {
    /// Opens a query.
    pub fn read(query: Option<&str>) -> Self {
        let given = url::form_urlencoded::parse(query.unwrap_or_default().as_bytes()).into_owned().collect();
        Self { given, asked: Vec::new(), errors: WrongFields::default() }
    }

    /// A parameter; an empty one counts as absent.
    pub fn take(&mut self, name: &'static str) -> Option<String> {
        self.asked.push(name);
        let at = self.given.iter().position(|(known, _)| known == name)?;
        Some(self.given.remove(at).1).filter(|value| !value.is_empty())
    }

    /// Looks at a parameter and leaves it where it is.
    pub fn peek(&self, name: &str) -> Option<&str> {
        let (_, value) = self.given.iter().find(|(known, _)| known == name)?;
        Some(value.as_str()).filter(|value| !value.is_empty())
    }

    /// How many to list.
    pub fn limit(&mut self, default: usize, most: usize) -> usize {
        let Some(text) = self.take("limit") else { return default };
        match text.parse() {
            Ok(limit) if (1..=most).contains(&limit) => limit,
            _ => {
                self.wrong("limit", "out_of_range", format!("Give a whole number from 1 to {most}."));
                default
            }
        }
    }

    /// `true` or `false`; left out it is false.
    pub fn flag(&mut self, name: &'static str) -> bool {
        match self.take(name).as_deref() {
            None | Some("false") => false,
            Some("true") => true,
            Some(_) => {
                self.wrong(name, "wrong_type", "Give true or false.");
                false
            }
        }
    }

    /// One of a few words.
    pub fn word<T>(
        &mut self,
        name: &'static str,
        read: impl FnOnce(&str) -> Option<T>,
        words: &[&str],
    ) -> Option<T> {
        let text = self.take(name)?;
        let value = read(&text);
        if value.is_none() {
            self.wrong(name, "unknown_value", format!("Give one of: {}.", words.join(", ")));
        }
        value
    }

    /// The number behind an id. One of another account is as one of nothing: `Some(None)`.
    pub fn id(&mut self, caller: &Caller, name: &'static str, kind: Kind) -> Option<Option<i64>> {
        let text = self.take(name)?;
        if id::parse(kind, &text).is_none() {
            self.wrong(name, "bad_id", format!("Give an id as the API shows it: {}_...", kind.prefix()));
        }
        Some(caller.number(kind, &text))
    }

    /// Puts a wrong parameter on record.
    pub fn wrong(&mut self, field: &str, code: &'static str, detail: impl Into<String>) {
        self.errors.push(field, code, detail);
    }

    /// Ends the reading where other parameters have always been passed over.
    ///
    /// # Errors
    /// 400 with everything that is wrong with those that were asked for.
    pub fn finish_leniently(mut self) -> Result<(), Problem> {
        self.given.clear();
        self.finish()
    }

    /// Ends the reading: whatever is left was not asked for.
    ///
    /// # Errors
    /// 400 with everything that is wrong.
    pub fn finish(mut self) -> Result<(), Problem> {
        self.errors.count(self.given.len().saturating_sub(MOST_LISTED));
        for (name, _) in std::mem::take(&mut self.given).into_iter().take(MOST_LISTED) {
            let detail = if self.asked.contains(&name.as_str()) {
                "Give it once.".to_owned()
            } else {
                unknown_name(&name, &self.asked)
            };
            self.wrong(&shorten(&name), "unknown_field", detail);
        }
        if self.errors.is_empty() {
            return Ok(());
        }
        Err(Problem::of_fields(StatusCode::BAD_REQUEST, self.errors))
    }
}
