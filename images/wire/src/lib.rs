//! What both proxies share.
