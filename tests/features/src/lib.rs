//! Nothing: the features that this package names are all that it is for.
