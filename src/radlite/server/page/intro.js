/** What is shown to those who come for the first time. */

/** A made-up report to try. */
export const EXAMPLE = `CT chest with contrast (made up)
Clinical information: 64-year-old woman, former smoker. Follow-up of a pulmonary nodule.
Comparison: CT chest of 2 September 2025.

Findings:
Lungs: Solid nodule with spiculated margins in the right upper lobe, 11 mm (previously 7 mm). The consolidation in the middle lobe has resolved. No pleural effusion. No pneumothorax.
Mediastinum: Right paratracheal lymph node of 13 mm, unchanged. The heart is normal in size.
Upper abdomen: Unremarkable.
Bones: No fracture, no suspicious lesion.

Impression:
1. Growing spiculated nodule of the right upper lobe, suspicious for lung cancer. Lung-RADS 4B.
2. Unchanged paratracheal node; PET-CT is advised.
`;

/** What a task gives, for those who see its name for the first time. @type {Record<string, string>} */
export const ABOUT = {
  rads_assignment: "category of one of ten RADS systems, with risk and next step",
  impression_generation: "an impression, from the findings",
  temporal_comparison: "what is new, worse, better, gone or unchanged since the earlier study",
  radiology_ner: "anatomy, observations and measurements that the text names",
  n_staging: "lymph node stage of a tumor",
  m_staging: "metastasis stage of a tumor",
  radiology_nli: "whether a hypothesis follows from the report",
  abnormality_detection: "fourteen chest findings: positive, negative, uncertain or not mentioned",
  radiology_qa: "an answer to a question about the report",
};
