//! SQLite: schema versions, energy counters, samples and their roll-ups, minute records, model blobs, retention.
