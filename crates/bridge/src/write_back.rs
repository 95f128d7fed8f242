//! From the engine to the platform: orders, cancellations, payments, ticket codes.
