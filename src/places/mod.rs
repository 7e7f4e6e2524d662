//! Answers questions about places. The only folder that names ureq.
