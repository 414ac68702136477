//! What the kernel's verifier thinks of the programs.

use aya::programs::SchedClassifier;

use crate::world::in_new_node;

/// A quarter of what the verifier looks at before it refuses a program (Linux 5.2 and
/// later): other kernels prune less than this one.
const INSTRUCTIONS: u32 = 250_000;

#[test]
fn the_verifier_is_done_with_each_program_long_before_its_limit() {
    in_new_node(|settings| {
        let enforcer = crate::world::start(&settings);
        enforcer.stop();
        let object = concat!(env!("CARGO_MANIFEST_DIR"), "/../programs/object/veni.bpf.o");
        let mut loaded = aya::EbpfLoader::new()
            .default_map_pin_directory(crate::world::pins(&settings))
            .load_file(object)
            .expect("load");
        for (name, program) in loaded.programs_mut() {
            let program: &mut SchedClassifier = program.try_into().expect("of tc");
            program.load().expect("load");
            let info = program.info().expect("what the kernel knows");
            // Told since Linux 5.16.
            let seen = info.verified_instruction_count().unwrap_or_default();
            assert!(seen < INSTRUCTIONS, "{name}: {seen} instructions");
        }
    });
}
