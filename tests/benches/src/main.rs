//! `make bench`: how long ADD and DEL take for Veni, for the reference plugins
//! and for the floor, and what pods cost the packets of a node.
//!
//! One run measures all contenders in turns, so that other load on the machine hits all of
//! them. It uses network, mount and process namespaces of its own. It checks every result,
//! and a wrong one ends the run.

mod arguments;
mod bandwidth;
mod burst;
mod command;
mod contender;
mod daemon;
mod figures;
mod latency;
mod machine;
mod network_lock;
mod node;
mod one_by_one;
mod ramp;
mod report;
mod starter;
mod targets;
mod verify;
mod world;

use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;

use arguments::Arguments;
use report::Report;
use veni_terminal::{eprintln, print, println};
use world::World;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let outcome = match node::inside() {
        true if arguments.bandwidth => bandwidth::run(arguments.quick).map(|()| ExitCode::SUCCESS),
        true => run(&arguments),
        false => node::enter(),
    };
    match outcome {
        Ok(code) => code,
        Err(error) => {
            eprintln!("veni-benches: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let scale = arguments.scale();
    let mut report = Report {
        before: machine::describe(),
        ..Report::default()
    };
    let mut world = World::try_new(arguments, &scale)?;
    if arguments.network_lock {
        println!("{}; after: {}\n", report.before, machine::load());
        print!("{}", network_lock::measure(&world, scale.burst_repeats)?);
        world.daemon.stop().context("the daemon did not end well")?;
        return Ok(ExitCode::SUCCESS);
    }
    let measured = measure(&mut world, &scale, &mut report);
    if measured.is_err() {
        eprintln!("the end of the daemon's log:\n{}", world.daemon.log_end());
    }
    measured?;
    world.daemon.stop().context("the daemon did not end well")?;
    report.load_after = machine::load();
    report.targets = targets::compare(&report);
    if arguments.json {
        println!("{:#}", report.as_json());
    } else {
        print!("{}", report.as_text());
    }
    Ok(ExitCode::SUCCESS)
}

fn measure(world: &mut World, scale: &arguments::Scale, report: &mut Report) -> anyhow::Result<()> {
    report.one_by_one = one_by_one::measure(world, scale)?;
    for size in &scale.bursts {
        report
            .bursts
            .push(burst::all_at_once(world, *size, scale.burst_repeats)?);
    }
    report.mixed = Some(burst::mixed(world, scale.mixed, scale.burst_repeats)?);
    report.ramp = Some(ramp::measure(world, scale)?);
    Ok(())
}
