use super::{Files, Rng, Template, fill, flip, swap};

#[test]
fn an_undamaged_template_gives_all_it_has() {
    for seed in 0..6 {
        let template = Template::new(seed).unwrap();
        let outcome = template.check(&template.files, "nothing".to_owned()).unwrap();
        assert_eq!((outcome.missing, &outcome.problems[..]), (0, &[][..]), "template {seed}");
        assert_eq!(outcome.undamaged, template.items.len() as u64 * 2);
    }
}

/// The judge itself: were an undamaged record missing, it would say so.
#[test]
fn a_missing_record_is_counted() {
    let template = Template::new(1).unwrap();
    let mut books = template.books.clone();
    assert_eq!(template.write_off_damaged(&template.files, &mut books), 0);
    assert_eq!(books.judge().lost.len(), template.items.len() * 2);
    let mut books = template.books.clone();
    assert_eq!(template.write_off_damaged(&Files::new(), &mut books), template.items.len() as u64 * 2);
    assert_eq!(books.judge().lost, []);
}

#[test]
fn each_kind_of_damage_changes_what_it_says() {
    let mut bytes = vec![7; 100];
    fill(&mut bytes, 10..20, |at| u8::try_from(at).unwrap());
    assert_eq!((bytes[9], bytes[10], bytes[19], bytes[20]), (7, 0, 9, 7));
    swap(&mut bytes, 10, 50, 10);
    assert_eq!((bytes[10], bytes[50], bytes[59]), (7, 0, 9));
    let before = bytes.clone();
    swap(&mut bytes, 10, 15, 10);
    assert_eq!(bytes, before, "they overlap");
    flip(&mut bytes, &mut Rng::new(1));
    assert_ne!(bytes, before);
}

#[test]
fn a_seed_does_the_same_again() {
    let template = Template::new(3).unwrap();
    let spoil = |seed| {
        let mut files = template.files.clone();
        (template.spoil(&mut files, &mut Rng::new(seed)), files)
    };
    assert_eq!(spoil(5), spoil(5));
    let changed = (0..50).filter(|seed| spoil(*seed).1 != template.files).count();
    assert!(changed > 40, "{changed} of 50");
}
