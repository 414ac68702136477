//! The planner against tables, golden plans and a small simulated cloud.

mod arithmetic;
mod aws_formulas;
mod boundaries;
mod build;
mod cloud;
mod consolidating;
mod golden;
mod growing;
mod kept;
mod properties;
mod releasing;
mod vpc;
