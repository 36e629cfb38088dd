//! The kernels of `fused.cu` that update parameters: for each, a type with the numbers that it
//! takes.

/// The numbers that a kernel takes after the arguments common to all updates.
pub trait Arguments: Copy {
    /// The kernel's name without the type of the elements.
    const KERNEL: &'static str;
    /// The name of the kernel that measures, too.
    const MEASURED: &'static str;
    /// The number of moments that it requires.
    const MOMENTS: usize;
    /// The names of its numbers, in their order.
    const NAMES: &'static [&'static str];

    /// The numbers in that order.
    fn numbers(&self) -> impl Iterator<Item = &f64>;
}

macro_rules! arguments {
    (
        $(#[$doc:meta])*
        $type:ident: $kernel:literal, $moments:literal moments, [$($number:ident),+ $(,)?]
    ) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug)]
        pub struct $type {
            $(pub $number: f64),+
        }

        impl Arguments for $type {
            const KERNEL: &'static str = $kernel;
            const MEASURED: &'static str = concat!($kernel, "_measured");
            const MOMENTS: usize = $moments;
            const NAMES: &'static [&'static str] = &[$(stringify!($number)),+];

            fn numbers(&self) -> impl Iterator<Item = &f64> {
                [$(&self.$number),+].into_iter()
            }
        }
    };
}

arguments!(
    /// `m = b1 m + c1 g`, `v = b2 v + c2 g²`, and the step is along their quotient.
    AdamArguments: "adam", 2 moments,
    [b1, c1, b2, c2, scale_m, scale_v, eps, lr, keep, penalty]
);
arguments!(
    /// `b = factor b + g`, and the step is along `direct g + carried b`; without moments along `g`.
    SgdArguments: "sgd", 0 moments,
    [factor, direct, carried, lr, penalty]
);

#[cfg(test)]
mod tests {
    use super::*;

    /// A launch cannot check the numbers in a table: they have to be those that the kernel reads, in its order.
    fn check<A: Arguments>(rule: &str) {
        let source = include_str!("../cuda/update.cu");
        let head = format!("__device__ {rule}(const double *x)");
        let (_, behind) = source.split_once(&head).expect("the rule is there");
        let (read, _) = behind.split_once("{}").expect("the numbers end");
        let read: String = read.split_whitespace().collect();
        let expected = A::NAMES.iter().enumerate().map(|(i, name)| format!("{name}(x[{i}])"));
        assert_eq!(read, format!(":{}", expected.collect::<Vec<_>>().join(",")));
        let (_, behind) = source.split_once(&format!("struct {rule} {{")).expect("the rule");
        let count = format!("NUMBERS = {},", A::NAMES.len());
        assert!(behind.trim_start().starts_with(&format!("static const unsigned {count}")));
        for kernel in [A::KERNEL, A::MEASURED] {
            assert!(source.contains(&format!("__global__ void {kernel}(")), "{kernel}");
        }
    }

    #[test]
    fn every_kernel_takes_what_its_type_says() {
        check::<AdamArguments>("Adam");
        check::<SgdArguments>("Sgd");
    }

    #[test]
    fn numbers_come_in_the_order_of_their_names() {
        let sgd = SgdArguments { factor: 1.0, direct: 2.0, carried: 3.0, lr: 4.0, penalty: 5.0 };
        assert_eq!(sgd.numbers().copied().collect::<Vec<_>>(), [1.0, 2.0, 3.0, 4.0, 5.0]);
        assert_eq!(SgdArguments::NAMES.len(), sgd.numbers().count());
    }
}
