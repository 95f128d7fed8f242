//! Both sides compared, per quota and per order.
