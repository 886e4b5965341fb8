//! CUDA C++ made of programs: what an operation computes, printed as a kernel. The same lists of instructions run as compiled
//! code on the CPU, so nothing is written twice.

/// Writes into a string, which does not fail.
macro_rules! put {
    ($to:expr, $($format:tt)*) => {
        write!($to, $($format)*).unwrap_or_else(|_| unreachable!("a string takes all that is written"))
    };
}

mod fold;
mod pointwise;
mod walk;

pub(crate) use fold::{FoldProgram, fold};
pub(in crate::cuda) use pointwise::copy;
pub(crate) use pointwise::{Group, GroupOperand, pointwise};
pub(in crate::cuda) use walk::walk;

use crate::DType;
use crate::scalar::Program;
use std::fmt::Write;

/// Writes the instructions of a program as statements on variables `{input}0`, `{input}1`, … and gives the names of the
/// results.
fn statements(text: &mut String, indent: &str, program: &Program, compute: DType, input: &str) -> Vec<String> {
    let compute_name = compute.name();
    program.print(
        &mut |line, is_mask| {
            let dtype = if is_mask { "bool" } else { compute_name };
            put!(text, "{indent}{dtype} {line};\n");
        },
        &|value| literal(value, compute),
        input,
    )
}

/// A constant of the type that is computed in, to the bit.
fn literal(value: f64, compute: DType) -> String {
    match compute {
        DType::F32 => format!("kiln::float_of({:#x}u)", (value as f32).to_bits()),
        DType::F64 => format!("kiln::double_of({:#x}ull)", value.to_bits()),
        _ => format!("(i64){:#x}ull", value as i64),
    }
}
