//! Layers that wrap candle's with another forward.

/// Implements `Freezable` by candle's layer inside, and `From` for candle's layer.
macro_rules! newtype {
    ($layer:ident) => {
        #[diagnostic::do_not_recommend]
        impl $crate::model::Freezable for $layer {
            const LEAVES: $crate::model::LeafTree =
                <candle_nn::$layer as $crate::model::Freezable>::LEAVES;

            fn map_params(
                &self,
                mapper: &mut $crate::model::Mapper<'_>,
            ) -> $crate::error::Result<Self> {
                self.0.map_params(mapper).map(Self)
            }
        }

        impl From<candle_nn::$layer> for $layer {
            fn from(layer: candle_nn::$layer) -> Self {
                Self(layer)
            }
        }
    };
}
pub(super) use newtype;
