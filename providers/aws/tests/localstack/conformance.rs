//! The suite of behaviours, on a Nitro type (m5.large: 3 interfaces, 10
//! addresses each, prefixes) and on a Xen type (t2.medium: 3 interfaces, 6
//! addresses each, no prefixes).

use veni_provider::conformance::{Verdict, behaviour};

use super::cloud::LocalStack;
use super::server::calm;

#[expect(clippy::print_stdout, reason = "to the runner of the test")]
async fn show(instance_type: &'static str, name: &str) {
    let _calm = calm().await;
    let behaviour = behaviour(name).expect("is in the table");
    match behaviour.run(&LocalStack::new(instance_type)).await {
        Ok(Verdict::Shown) => {}
        Ok(Verdict::NotApplicable(reason)) => println!("{name}: not applicable: {reason}"),
        Err(error) => panic!("{name}: {error}"),
    }
}

macro_rules! nitro {
    ($($module:ident :: $name:ident),* $(,)?) => {
        mod nitro {
            $(#[tokio::test]
            async fn $name() {
                super::show("m5.large", stringify!($name)).await;
            })*
        }
    };
}

macro_rules! xen {
    ($($module:ident :: $name:ident),* $(,)?) => {
        mod xen {
            $(#[tokio::test]
            async fn $name() {
                super::show("t2.medium", stringify!($name)).await;
            })*
        }
    };
}

veni_provider::for_each_behaviour!(nitro);
veni_provider::for_each_behaviour!(xen);
