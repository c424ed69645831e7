//! The address of a database: whoever has it has the password. Refuses to connect.

/// A `postgres://` URL. `Debug` shows nothing of it, nor does any error.
#[derive(Clone, PartialEq, Eq)]
pub struct DatabaseUrl(String);

impl DatabaseUrl {
    /// Takes a URL.
    ///
    /// # Errors
    /// A sentence for the operator when it is no such URL.
    pub fn new(url: impl Into<String>) -> Result<Self, String> {
        let url = url.into();
        match url.starts_with("postgres://") || url.starts_with("postgresql://") {
            true => Ok(Self(url)),
            false => Err("the database URL has to begin with postgres://, as in \
                          postgres://user:password@host:5432/postcall"
                .to_owned()),
        }
    }

    /// All of it, for who connects.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("DatabaseUrl(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_of_it_shows() {
        let url = DatabaseUrl::new("postgres://me:hush@db.example/postcall").unwrap();
        assert_eq!(format!("{url:?}"), "DatabaseUrl(..)");
        assert_eq!(url.expose(), "postgres://me:hush@db.example/postcall");
        assert!(DatabaseUrl::new("postgresql://db.example/postcall").is_ok());
        for wrong in ["me:hush@db.example", "mysql://me:hush@db.example/postcall", ""] {
            assert!(!DatabaseUrl::new(wrong).unwrap_err().contains("hush"), "{wrong}");
        }
    }
}
