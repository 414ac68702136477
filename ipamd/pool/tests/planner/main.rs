//! The planner against tables, golden plans and a small simulated cloud.

mod aws_formulas;
mod build;
mod cloud;
mod golden;
mod properties;
mod rules;
