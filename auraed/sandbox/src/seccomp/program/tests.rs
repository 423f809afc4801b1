use proptest::prelude::*;

use super::*;

/// A system call as the kernel shows it to a filter.
#[derive(Debug, Clone, Copy)]
pub(in super::super) struct Call {
    pub(in super::super) architecture: u32,
    pub(in super::super) number: u32,
    pub(in super::super) arguments: [u64; 6],
}

impl Call {
    fn native(number: u32, first: u64) -> Self {
        Self {
            architecture: NATIVE,
            number,
            arguments: [first, 0, 0, 0, 0, 0],
        }
    }

    fn word(&self, offset: u32) -> u32 {
        match offset {
            NUMBER => self.number,
            ARCHITECTURE => self.architecture,
            _ => {
                let place = usize::try_from(offset - ARGUMENTS).unwrap();
                let argument = self.arguments[place / 8];
                if place.is_multiple_of(8) {
                    argument as u32
                } else {
                    (argument >> 32) as u32
                }
            }
        }
    }
}

/// What the kernel would do.
pub(in super::super) fn run(program: &[Instruction], call: &Call) -> u32 {
    let (mut position, mut accumulator) = (0, 0);
    loop {
        let Instruction {
            code,
            if_true,
            if_false,
            value,
        } = program[position];
        position += 1;
        let mut branch = |taken: bool| position += usize::from(if taken { if_true } else { if_false });
        match code {
            LOAD => accumulator = call.word(value),
            AND => accumulator &= value,
            JUMP => position += value as usize,
            JUMP_EQUAL => branch(accumulator == value),
            JUMP_GREATER => branch(accumulator > value),
            JUMP_AT_LEAST => branch(accumulator >= value),
            RETURN => return value,
            other => panic!("{other:#x}"),
        }
    }
}

fn holds(comparison: &Comparison, argument: u64) -> bool {
    let low = argument as u32;
    match comparison {
        Comparison::LowIsNot(value) => low != *value,
        Comparison::LowIsOneOf(values) => values.contains(&low),
        Comparison::LowHasNone(mask) => low & mask == 0,
        Comparison::LowMasked(mask, value) => low & mask == value & mask,
        Comparison::Equal(value) => argument == *value,
        Comparison::NotEqual(value) => argument != *value,
        Comparison::Less(value) => argument < *value,
        Comparison::LessOrEqual(value) => argument <= *value,
        Comparison::Greater(value) => argument > *value,
        Comparison::GreaterOrEqual(value) => argument >= *value,
        Comparison::Masked(mask, value) => argument & mask == value & mask,
    }
}

/// The plain way to come to a verdict.
fn expected(section: &Section, call: &Call) -> u32 {
    let general = section.otherwise.range(..=call.number).next_back().unwrap().1;
    match section.verdicts.get(&call.number) {
        None => *general,
        Some(Verdict::Return(value)) => *value,
        Some(Verdict::ByArguments(rules, otherwise)) => rules
            .iter()
            .find(|rule| {
                let mut tests = rule.tests.iter();
                tests.all(|test| holds(&test.comparison, call.arguments[usize::from(test.argument)]))
            })
            .map_or(*otherwise, |rule| rule.result),
    }
}

fn first(comparison: Comparison) -> Verdict {
    let test = Test {
        argument: 0,
        comparison,
    };
    let rule = Rule {
        tests: vec![test],
        result: ALLOW,
    };
    Verdict::ByArguments(vec![rule], refusal(1))
}

const NEWEST: u32 = 469;

fn section(verdicts: BTreeMap<u32, Verdict>) -> Section {
    Section {
        architecture: NATIVE,
        verdicts,
        otherwise: [
            (0, refusal(libc::EPERM as u16)),
            (NEWEST + 1, refusal(libc::ENOSYS as u16)),
        ]
        .into(),
    }
}

/// Of every kind, scattered; `density` of ten numbers have one.
fn verdicts(density: u32) -> BTreeMap<u32, Verdict> {
    let verdict = |number: u32| match number.wrapping_mul(2_654_435_761) >> 16 & 15 {
        0 => Verdict::Return(refusal(libc::ENOSYS as u16)),
        1 => first(Comparison::LowIsNot(40)),
        2 => first(Comparison::LowHasNone(0x7e02_0000)),
        3 => first(Comparison::LowIsOneOf(vec![0, 8, 0x2_0000])),
        _ => Verdict::Return(ALLOW),
    };
    (0..=NEWEST)
        .filter(|number| number.wrapping_mul(2_246_822_519) >> 8 & 1023 < density * 102)
        .map(|number| (number, verdict(number)))
        .collect()
}

#[test]
fn each_number_gets_its_verdict() {
    for density in [0, 1, 5, 9, 11] {
        let section = section(verdicts(density));
        let program = compile(std::slice::from_ref(&section));
        for number in 0..=NEWEST {
            for argument in [0, 8, 40, 0x2_0000, 0x0200_0000, u64::from(u32::MAX), u64::MAX] {
                let call = Call::native(number, argument);
                assert_eq!(run(&program, &call), expected(&section, &call), "{call:?}");
            }
        }
        for number in [NEWEST + 1, 1000, 0x4000_0000, u32::MAX] {
            let result = run(&program, &Call::native(number, 0));
            assert_eq!(result, refusal(libc::ENOSYS as u16));
        }
        let foreign = Call {
            architecture: 0x4000_0003,
            ..Call::native(0, 0)
        };
        assert_eq!(run(&program, &foreign), KILL);
    }
}

#[test]
fn each_architecture_has_its_own_list() {
    let mut other = section(verdicts(9));
    other.architecture = 0x4000_0003;
    let sections = [section(verdicts(3)), other];
    let program = compile(&sections);
    for section in &sections {
        for number in 0..=NEWEST + 5 {
            let call = Call {
                architecture: section.architecture,
                ..Call::native(number, 40)
            };
            assert_eq!(run(&program, &call), expected(section, &call), "{call:?}");
        }
    }
    let foreign = Call {
        architecture: 0xc000_0000,
        ..Call::native(0, 0)
    };
    assert_eq!(run(&program, &foreign), KILL);
}

/// Values near each other, so that comparisons are close.
fn value() -> impl Strategy<Value = u64> {
    prop_oneof![
        0_u64..4,
        (0_u64..4).prop_map(|value| value << 32),
        (0_u64..4, 0_u64..4).prop_map(|(high, low)| high << 32 | low),
        Just(u64::from(u32::MAX)),
        Just(u64::MAX),
        any::<u64>(),
    ]
}

fn comparison() -> impl Strategy<Value = Comparison> {
    prop_oneof![
        value().prop_map(Comparison::Equal),
        value().prop_map(Comparison::NotEqual),
        value().prop_map(Comparison::Less),
        value().prop_map(Comparison::LessOrEqual),
        value().prop_map(Comparison::Greater),
        value().prop_map(Comparison::GreaterOrEqual),
        (value(), value()).prop_map(|(mask, value)| Comparison::Masked(mask, value)),
    ]
}

fn rule() -> impl Strategy<Value = Rule> {
    let test = (0_u8..6, comparison()).prop_map(|(argument, comparison)| Test { argument, comparison });
    (prop::collection::vec(test, 1..=6), 0_u16..5).prop_map(|(tests, errno)| Rule {
        tests,
        result: refusal(errno),
    })
}

fn verdict() -> impl Strategy<Value = Verdict> {
    prop_oneof![
        Just(Verdict::Return(ALLOW)),
        Just(Verdict::Return(refusal(7))),
        prop::collection::vec(rule(), 1..5).prop_map(|rules| Verdict::ByArguments(rules, ALLOW)),
    ]
}

/// The same list for the other compiler, which knows one result and one for everything else.
fn by_another(verdicts: &BTreeMap<u32, Verdict>) -> Vec<Instruction> {
    use seccompiler::{
        BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
        SeccompRule,
    };
    let condition = |test: &Test| {
        let (operator, value) = match test.comparison {
            Comparison::Equal(value) => (SeccompCmpOp::Eq, value),
            Comparison::NotEqual(value) => (SeccompCmpOp::Ne, value),
            Comparison::Less(value) => (SeccompCmpOp::Lt, value),
            Comparison::LessOrEqual(value) => (SeccompCmpOp::Le, value),
            Comparison::Greater(value) => (SeccompCmpOp::Gt, value),
            Comparison::GreaterOrEqual(value) => (SeccompCmpOp::Ge, value),
            Comparison::Masked(mask, value) => (SeccompCmpOp::MaskedEq(mask), value),
            ref other => panic!("{other:?}"),
        };
        SeccompCondition::new(test.argument, SeccompCmpArgLen::Qword, operator, value).unwrap()
    };
    let rule = |rule: &Rule| SeccompRule::new(rule.tests.iter().map(condition).collect()).unwrap();
    let rules = verdicts.iter().map(|(number, verdict)| {
        let rules = match verdict {
            Verdict::Return(_) => Vec::new(),
            Verdict::ByArguments(rules, _) => rules.iter().map(rule).collect(),
        };
        (i64::from(*number), rules)
    });
    let refused = SeccompAction::Errno(libc::EPERM.unsigned_abs());
    let architecture = std::env::consts::ARCH.try_into().unwrap();
    let program: BpfProgram =
        SeccompFilter::new(rules.collect(), refused, SeccompAction::Allow, architecture)
            .unwrap()
            .try_into()
            .unwrap();
    program
        .iter()
        .map(|one| Instruction {
            code: one.code,
            if_true: one.jt,
            if_false: one.jf,
            value: one.k,
        })
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn arguments_decide_as_the_rules_say(
        verdicts in prop::collection::btree_map(0_u32..40, verdict(), 0..20),
        calls in prop::collection::vec((0_u32..42, prop::array::uniform6(value())), 50),
    ) {
        let section = section(verdicts);
        let program = compile(std::slice::from_ref(&section));
        for (number, arguments) in calls {
            let call = Call { architecture: NATIVE, number, arguments };
            prop_assert_eq!(run(&program, &call), expected(&section, &call), "{:?}", call);
        }
    }

    #[test]
    fn another_compiler_comes_to_the_same_verdicts(
        rules in prop::collection::btree_map(0_u32..40, prop::collection::vec(rule(), 0..5), 0..20),
        calls in prop::collection::vec((0_u32..42, prop::array::uniform6(value())), 50),
    ) {
        let allowed = |mut rule: Rule| { rule.result = ALLOW; rule };
        let verdicts: BTreeMap<u32, Verdict> = rules.into_iter().map(|(number, rules)| {
            let verdict = if rules.is_empty() {
                Verdict::Return(ALLOW)
            } else {
                Verdict::ByArguments(rules.into_iter().map(allowed).collect(), refusal(libc::EPERM as u16))
            };
            (number, verdict)
        }).collect();
        let other = by_another(&verdicts);
        let program = compile(&[section(verdicts)]);
        for (number, arguments) in calls {
            let call = Call { architecture: NATIVE, number, arguments };
            prop_assert_eq!(run(&program, &call), run(&other, &call), "{:?}", call);
        }
    }
}

#[test]
fn the_search_is_shorter_than_a_list() {
    let verdicts: BTreeMap<u32, Verdict> = verdicts(7)
        .into_iter()
        .filter(|(_, verdict)| *verdict == Verdict::Return(ALLOW))
        .collect();
    let other = by_another(&verdicts);
    let program = compile(&[section(verdicts)]);
    assert!(
        program.len() * 2 < other.len(),
        "{} {}",
        program.len(),
        other.len()
    );
}
