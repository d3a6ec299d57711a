//! Model files are read as written, and every wrong one is refused with a reason.

#![allow(missing_docs)]

mod tiny_model;

use proptest::prelude::*;
use safetensors::Dtype;
use tiny_model::{Parts, Sizes};
use vqcodec_core::prior::Prior;
use vqcodec_core::{Error, Model};

fn reason(parts: &Parts) -> String {
    match Model::load(&parts.file()) {
        Err(Error::InvalidModel(reason)) => reason,
        Err(error) => panic!("{error}"),
        Ok(_) => panic!("the model was accepted"),
    }
}

#[test]
fn good_models() {
    for sizes in [Sizes::logistic(), Sizes::categorical()] {
        let model = sizes.model();
        assert_eq!(model.prior.variables(), 5);
        assert_eq!((model.stride_log2, model.quality_levels, model.max_quality()), (4, 3, 32));
        assert_eq!(model.config, sizes.parts().config);
        let id = model.id.to_string();
        assert!(id.len() == 16 && id.bytes().all(|digit| digit.is_ascii_hexdigit()));
    }
    assert_ne!(Sizes::logistic().model().id, Sizes::categorical().model().id);
}

#[test]
fn the_id_is_the_start_of_the_sha_256() {
    let id = vqcodec_core::checksum::ModelId::of(b"abc").to_string();
    assert_eq!(id, "ba7816bf8f01cfea");
}

#[test]
fn bad_tensors() {
    type Change = fn(&mut Parts);
    let changes: &[(Change, &str)] = &[
        (|parts| drop(parts.tensors.remove("prior.0.1.context.weight")), "missing"),
        (|parts| parts.put("prior.0.hidden1.bias", Dtype::F32, &[8], vec![0; 32]), "not I32"),
        (|parts| parts.put("prior.0.hidden1.bias", Dtype::I32, &[3, 8], vec![0; 96]), "[3, 8]"),
        (|parts| parts.put("prior.0.hidden1.bias", Dtype::I32, &[8], vec![0x7f; 32]), "overflow"),
        (|parts| parts.put("prior.1.head.shift", Dtype::U8, &[6], vec![31; 6]), "shift 31"),
        (|parts| parts.put("prior.2.head.shift", Dtype::U8, &[6], vec![0; 6]), "describes"),
    ];
    for (change, expected) in changes {
        let mut parts = Sizes::logistic().parts();
        change(&mut parts);
        let reason = reason(&parts);
        assert!(reason.contains(expected), "{expected}: {reason}");
    }
    let mut parts = Sizes::categorical().parts();
    parts.put("prior.embedding", Dtype::I16, &[5, 6, 2], vec![0x7f; 120]); // 32639 each
    assert!(reason(&parts).contains("16376"));
}

#[test]
fn bad_configs() {
    let replacements = [
        (r#""stride": 16"#, r#""stride": 12"#, "power of two"),
        (r#""stride": 16"#, r#""stride": 0"#, "power of two"),
        (r#""stride": 16"#, r#""stride": 65536"#, "power of two"),
        (r#""stride": 16"#, r#""stride": -1"#, "not understood"),
        (r#""stride": 16, "#, "", "stride"),
        (r#""stride": 16"#, r#""stride": 16, "speed": 9"#, "unknown field"),
        (r#""quality_levels": 3"#, r#""quality_levels": 0"#, "quality_levels"),
        (r#""quality_levels": 3"#, r#""quality_levels": 17"#, "quality_levels"),
        (r#""hidden": 8"#, r#""hidden": 1025"#, "hidden"),
        (r#""hidden": 8"#, r#""hidden": 8, "depth": 3"#, "unknown field"),
        (r#""slices": [2, 3]"#, r#""slices": []"#, "slices"),
        (r#""slices": [2, 3]"#, r#""slices": [2, 0]"#, "variables of a slice"),
        (r#""slices": [2, 3]"#, r#""slices": [1024, 1]"#, "variables"),
        (r#""slices": [2, 3]"#, r#""slices": [2, 2]"#, "prior.1"),
        (r#""logistic""#, r#""cauchy""#, "unknown variant"),
        (r#""logistic""#, r#""logistic", "alphabet": 7"#, "alphabet"),
        (r#""logistic""#, r#""categorical", "alphabet": 7"#, "embedding"),
        (r#""logistic""#, r#""categorical", "alphabet": 1, "embedding": 2"#, "alphabet"),
        (r#""logistic""#, r#""categorical", "alphabet": 4097, "embedding": 2"#, "alphabet"),
        (r#""logistic""#, r#""categorical", "alphabet": 7, "embedding": 65"#, "embedding"),
        (r#""runtime""#, r#""training""#, "runtime"),
        ("{", "[", "not understood"),
    ];
    for (old, new, expected) in replacements {
        let mut parts = Sizes::logistic().parts();
        assert!(parts.config.contains(old));
        parts.config = parts.config.replacen(old, new, 1);
        let reason = reason(&parts);
        assert!(reason.contains(expected), "{new}: {reason}");
    }
}

#[test]
fn bad_coarse_priors() {
    let replacements = [
        (r#""stride": 32"#, r#""stride": 16"#, "twice"),
        (r#""stride": 32"#, r#""stride": 64"#, "twice"),
        (r#""stride": 32"#, r#""stride": 4294967295"#, "twice"),
        (r#""stride": 32, "#, "", "stride"),
        (r#""slices": [1, 2]"#, r#""slices": [1024, 1]"#, "variables"),
        (r#""slices": [1, 2]"#, r#""slices": [1, 1]"#, "coarse.prior.1"),
        (r#""slices": [1, 2], "hidden": 8"#, r#""slices": [1, 2], "hidden": 0"#, "hidden"),
        (
            r#"[1, 2], "hidden": 8, "head": "logistic""#,
            r#"[1, 2], "hidden": 8, "head": "categorical", "alphabet": 4, "embedding": 2"#,
            "kinds",
        ),
    ];
    for (old, new, expected) in replacements {
        let mut parts = Sizes::logistic().two_levels().parts();
        assert!(parts.config.contains(old));
        parts.config = parts.config.replacen(old, new, 1);
        let reason = reason(&parts);
        assert!(reason.contains(expected), "{new}: {reason}");
    }
    let mut parts = Sizes::logistic().two_levels().parts();
    parts.tensors.remove("coarse.prior.1.head.bias");
    assert!(reason(&parts).contains("coarse.prior.1.head.bias"));
    parts.edit(|config| drop(config["runtime"].as_object_mut().unwrap().remove("coarse")));
    assert!(reason(&parts).contains("prior.0.0.context")); // the fine prior would see less
    let mut largest = Sizes::logistic().two_levels().parts();
    largest.config = largest.config.replace(": 32", ": 65536").replace(": 16", ": 32768");
    assert!(reason(&largest).contains("twice"));
}

#[test]
fn other_files_are_no_models() {
    let good = Sizes::logistic().parts().file();
    for bytes in [&[][..], &[0; 8], &[0xff; 100], &good[..good.len() - 1], &good[..20]] {
        assert!(matches!(Model::load(bytes), Err(Error::InvalidModel(_))));
    }
    let without_config = safetensors::serialize::<String, safetensors::tensor::TensorView, _>(
        [],
        Default::default(),
    );
    assert!(matches!(Model::load(&without_config.unwrap()), Err(Error::InvalidModel(_))));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// A damaged model is refused or is another model; it never panics, not even when used.
    #[test]
    fn damaged_models(damage in prop::collection::vec((any::<usize>(), any::<u8>()), 1..20)) {
        let sizes = Sizes::logistic();
        let mut file = sizes.parts().file();
        for (position, byte) in damage {
            let position = position % file.len();
            file[position] = byte;
        }
        if let Ok(model) = Model::load(&file) {
            let codes = sizes.codes(3, 4, 9);
            let _ = vqcodec_core::stream::cross_entropy(&model, 0, &[codes], 1, true);
        }
    }
}
