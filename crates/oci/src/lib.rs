//! bld-oci
